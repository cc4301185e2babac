"""The user at the other end of a loopback connection, from the kernel (Linux, `sock_diag(7)`)."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import sys
from typing import Any

ROOT = 0
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST = 4, 20, 1
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
REQUEST = struct.Struct("=BBBxI")  # family, protocol, extensions, states
IDENTITY = struct.Struct("!HH16s16s")  # ports and addresses, in network order
ANY_SOCKET = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # interface, cookie
OWNER = struct.Struct("=II")  # uid, inode
OWNER_AT = HEADER.size + 4 + IDENTITY.size + len(ANY_SOCKET) + 12


def is_another_users(peer: Any, local: Any) -> bool:
    """Return True if the socket at `peer`, connected to ours at `local`, belongs to a user other than this one or root.
    False where the kernel does not say."""
    owner = owner_of(peer, local)
    if owner is None:
        return False
    uid, inode = owner
    # Closed already, it is nobody's: whoever asked does not wait for an answer.
    return inode == 0 or uid not in (ROOT, os.geteuid())


def owner_of(peer: Any, local: Any) -> tuple[int, int] | None:
    """Return uid and inode of that socket; None where the kernel does not say."""
    if sys.platform != "linux":
        return None
    try:
        far, near = (ipaddress.ip_address(address[0].partition("%")[0]) for address in (peer, local))
        family = socket.AF_INET if far.version == 4 else socket.AF_INET6
        identity = IDENTITY.pack(peer[1], local[1], far.packed.ljust(16, b"\0"), near.packed.ljust(16, b"\0"))
        body = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + identity + ANY_SOCKET
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as kernel:
            kernel.settimeout(1)
            kernel.send(HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + body)
            answer = kernel.recv(4096)
    except (OSError, ValueError, TypeError, IndexError, struct.error):
        return None
    if HEADER.unpack_from(answer)[1] != SOCK_DIAG_BY_FAMILY or len(answer) < OWNER_AT + OWNER.size:
        return None
    return OWNER.unpack_from(answer, OWNER_AT)

"""What a worker process tells of itself: its instruments, where they are read, and its spans. All of it is off unless a setting
turns it on; which metrics and spans there are is said in `headrace.telemetry`.
"""

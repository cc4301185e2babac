"""An event log on its way to a viewer: the session, server-sent events, WebSocket frames, timers.

The shape of a frame's data belongs in `views`, reading the log in `headrace.events`, paths in `routes`.
"""

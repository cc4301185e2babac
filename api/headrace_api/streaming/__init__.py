"""An event log on its way to a viewer: the session, server-sent events, WebSocket frames, timers."""

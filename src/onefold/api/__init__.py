"""HTTP, WebSocket and dashboard: they show what is recorded, and put requests where they are found.

Nothing here can send an order: the server reads views, and writes to the control inboxes and the
parameters of governance, as the commands do. What it can see and do stands in `Office`.
"""

"""Generator of the dashboards that ``deploy/grafana`` provisions, and of pictures of them.

``dashboards`` has a file for each, which ``catalogue`` reads as the types of ``panel``. ``grafana`` writes them in
Grafana's format, and ``picture`` draws them with data of a running ``prometheus``.
"""

"""Generator of the dashboards that ``deploy/grafana`` provisions, and of pictures of them.

``catalogue`` lists the dashboards, one file each, made of ``panel`` and ``queries``. ``grafana`` writes them in
Grafana's format, and ``picture`` draws them with data of a running ``prometheus``.
"""

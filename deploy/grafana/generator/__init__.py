"""The dashboards that ``deploy/grafana`` provisions, and pictures of what they show.

``catalogue`` lists them, each a file: what is asked, in which words. They consist of ``panel`` and ``queries``.
``grafana`` writes them as Grafana reads them, ``picture`` draws them from a running ``prometheus``.
"""

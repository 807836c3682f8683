"""Ways to run the server: compose, Prometheus and Grafana as files, the fleet on Ray Serve as a package."""

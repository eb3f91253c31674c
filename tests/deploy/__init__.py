"""What is in deploy/ for Kubernetes, judged by real tools and by the image's own table of settings, without Docker."""

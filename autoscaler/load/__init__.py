"""Drives an endpoint with an open loop: requests are sent when they are due, whatever the answers do."""

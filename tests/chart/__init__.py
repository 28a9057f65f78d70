"""The chart, rendered by the real Helm of both majors, and the images its pods run."""

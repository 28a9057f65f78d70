"""What the chart holds that is computed: the schema of its values, its table of values, dashboards and rules."""

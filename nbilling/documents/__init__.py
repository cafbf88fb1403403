"""Documents made from values: HTML, PDF, CSV and JSON exports."""

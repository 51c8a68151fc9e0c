"""The report: one page that shows a finished sweep."""

"""`gradience monitor --follow`: a run while it is written."""

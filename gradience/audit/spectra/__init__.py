"""From factors to spectra: the mathematics, and the workers and devices that it runs on."""

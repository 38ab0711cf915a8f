"""The only place that knows everyone: settings, wiring, the command line, the library's front."""

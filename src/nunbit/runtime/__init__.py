"""What every room runs on: files, settings, packaged data, workers, progress, results."""

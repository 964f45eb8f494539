"""The parts of the video example: motion, pipeline, output."""

"""What happens to samples before a window is due: montage, time, filters, quality, alignment."""

"""What a device can tell: time, memory, throttling. One file a device."""

"""What a pass holds in a device's memory: how long its storages live, and from that the peak, of any batch size."""

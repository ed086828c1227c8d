"""NAT: the whole desired table, rendered and handed to a short-lived child, all or nothing."""

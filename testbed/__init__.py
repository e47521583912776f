"""A packet-level emulation testbed for real-time calls over ExpressRoute and the Internet."""

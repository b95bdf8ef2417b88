"""Port mapping: has the gateway send on what comes for a port of its own.

``codec`` is what gateways are asked in, PCP and NAT-PMP; ``mapper`` decides what to ask and what
to believe; ``gateway`` finds it; ``upnp`` asks those that know neither; ``driver`` joins them to
a socket and to the endpoint.
"""

"""What ``mosaik-actors doctor`` finds out, and what it makes of that.

    finding          one check's outcome, and the table and the JSON of many
    machine          what was measured of this machine, judged
    network          what was measured of a network, judged
    divided          which groups and nodes of a network never meet
    machine_probes   measures the machine
    network_probes   measures a network, as a node of it

The first four are pure: measured values go in, findings come out. A probe measures and
decides nothing. None of them sends a datagram anywhere but to this machine, to the peers and
relays that were named or found, and, when asked, to the DHT.
"""

"""The demo: a real network that organises itself, on real readings.

Five processes are started that share nothing but a network's name. They find
each other; four stream measurements of this machine, one collects them. All keep
the latest reading of each sensor in a replicated map. One is killed, and the others
are seen to notice, to have kept what it wrote, and to go on with a new one.

    records     what the processes send each other
    gauges      reading the machine
    settings    how each process joins the network
    latest      the replicated map of each sensor's latest reading
    sensor      the sensor process
    processes   starting, killing and ending the sensors
    run         the collector and the script of the run
    facts       what was observed: a pure record
    claims      what the demo claims, each checked against the facts
    wording     figures as texts, and how far the run has come
    view        the live table and the summary
    display     where the pictures or log lines go
"""

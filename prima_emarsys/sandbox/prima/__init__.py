"""A local Prima's web service on the loopback, fed by the same made-up world as its SQL side.

It speaks what is publicly known of Prima's protocol: OpenEdge's SOAP around one XML document in a string, five
RequestTypes, their answers byte by byte, and errors at three levels. `invented` holds everything that is **not** known
of Prima and yet needs an answer (names of parts, further reads, what is said of unknown things); `faults` are switches
that no Prima has. So nobody need take our inventions for Prima's behaviour.

Where the one stands in the other: `server` takes an HTTP request, `envelope` opens the SOAP around it, `handler` reads
the XML inside (`grammar`) and picks who answers: `stock`, `orders`, or `invented`. `wsdl` describes all of it.
"""

"""Reading Prima by its web service: OpenEdge's SOAP around one XML document in a string.

From the wire to the contract: `line` knows the WSDL, calls by zeep and hands out bytes; `mending` makes them readable;
`envelope` opens the SOAP, `answer` reads the XML inside, both as a stream and each believing only what is whole;
`reader` asks for entities and passes their rows through the same door as the SQL reader's. `outcome` names what can go
wrong, `parked` remembers what is not asked again.
"""

from prima_emarsys.prima.webservice.line import Access
from prima_emarsys.prima.webservice.outcome import (
    Disbelieved,
    Misconfigured,
    Partial,
    Permanent,
    Refused,
    StillParked,
    Transient,
    Unavailable,
    WebServiceError,
)
from prima_emarsys.prima.webservice.parked import ParkedFile, ParkedRequest, ParkedRequests
from prima_emarsys.prima.webservice.reader import OrderState, Sku, WebServiceReader

__all__ = [
    "Access",
    "Disbelieved",
    "Misconfigured",
    "OrderState",
    "ParkedFile",
    "ParkedRequest",
    "ParkedRequests",
    "Partial",
    "Permanent",
    "Refused",
    "Sku",
    "StillParked",
    "Transient",
    "Unavailable",
    "WebServiceError",
    "WebServiceReader",
]

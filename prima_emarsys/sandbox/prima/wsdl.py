"""The WSDL of the service `urn:omlink`, and the adapter's HTML list of its services.

The shape is OpenEdge's: messages `<Object>_<operation>` and `…Response` with a part for each parameter, portType
`<Object>Obj`, a fault `<Object>Fault` of the message `FaultDetailMessage`; document/literal wraps the parameters in
elements. The object's and the parts' names are ours (`invented`).
"""

from __future__ import annotations

from prima_emarsys.sandbox.prima.envelope import ENCODING, FAULT_DETAIL, NAMESPACE, XSD, Style
from prima_emarsys.sandbox.prima.invented import ANSWER_PART, COMPANY_PART, OBJECT, REQUEST_PART

OPERATIONS: dict[str, tuple[str, ...]] = {
    "wsomhandler": (REQUEST_PART,),
    "comwsomhandler": (COMPANY_PART, REQUEST_PART),
}
"""Entry point → its input parameters, in order."""


def services(endpoint: str) -> str:
    """The list of services, as HTML."""
    return (
        "<!DOCTYPE html>\n<html><head><title>Web Services</title></head><body><h1>Web Services</h1><ul>"
        f'<li><a href="{endpoint}/wsdl?targetURI={NAMESPACE}">{NAMESPACE}</a></li></ul></body></html>\n'
    )


def wsdl(endpoint: str, style: Style) -> str:
    """The description of the service at `endpoint`."""
    document = style == "document-literal"
    types = _wrappers() if document else ""
    messages = "".join(_messages(operation, inputs, document) for operation, inputs in OPERATIONS.items())
    operations = "".join(_operation(operation, inputs, document) for operation, inputs in OPERATIONS.items())
    bound = "".join(_bound(operation, style) for operation in OPERATIONS)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<wsdl:definitions name="{OBJECT}" targetNamespace="{NAMESPACE}" xmlns:tns="{NAMESPACE}" xmlns:S2="{FAULT_DETAIL}"
    xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
    xmlns:soapenc="{ENCODING}" xmlns:xsd="{XSD}">
  <wsdl:documentation>A local Prima's web service ({style}). Names of object and parts are the sandbox's.</wsdl:documentation>
  <wsdl:types>
    <xsd:schema targetNamespace="{FAULT_DETAIL}" elementFormDefault="unqualified">
      <xsd:element name="FaultDetail"><xsd:complexType><xsd:sequence>
        <xsd:element name="errorMessage" type="xsd:string"/><xsd:element name="requestID" type="xsd:string"/>
      </xsd:sequence></xsd:complexType></xsd:element>
    </xsd:schema>{types}
  </wsdl:types>
  <wsdl:message name="FaultDetailMessage"><wsdl:part name="FaultDetail" element="S2:FaultDetail"/></wsdl:message>{messages}
  <wsdl:portType name="{OBJECT}Obj">{operations}
  </wsdl:portType>
  <wsdl:binding name="{OBJECT}Obj" type="tns:{OBJECT}Obj">
    <soap:binding style="{"document" if document else "rpc"}" transport="http://schemas.xmlsoap.org/soap/http"/>{bound}
  </wsdl:binding>
  <wsdl:service name="{OBJECT}Service">
    <wsdl:port name="{OBJECT}Obj" binding="tns:{OBJECT}Obj"><soap:address location="{endpoint}"/></wsdl:port>
  </wsdl:service>
</wsdl:definitions>
"""  # noqa: E501 (a line of XML)


def _wrappers() -> str:
    elements = ""
    for operation, inputs in OPERATIONS.items():
        elements += _wrapper(operation, inputs) + _wrapper(f"{operation}Response", ("result", ANSWER_PART))
    return (
        f'\n    <xsd:schema targetNamespace="{NAMESPACE}" elementFormDefault="qualified">{elements}\n    </xsd:schema>'
    )


def _wrapper(name: str, parts: tuple[str, ...]) -> str:
    inner = "".join(f'<xsd:element name="{part}" type="xsd:string" nillable="true"/>' for part in parts)
    sequence = f"<xsd:complexType><xsd:sequence>{inner}</xsd:sequence></xsd:complexType>"
    return f'\n      <xsd:element name="{name}">{sequence}</xsd:element>'


def _messages(operation: str, inputs: tuple[str, ...], document: bool) -> str:
    written = ""
    for name, parts in ((operation, inputs), (f"{operation}Response", (ANSWER_PART,))):
        if document:
            told = f'<wsdl:part name="parameters" element="tns:{name}"/>'
        else:
            told = "".join(f'<wsdl:part name="{part}" type="xsd:string"/>' for part in parts)
        written += f'\n  <wsdl:message name="{OBJECT}_{name}">{told}</wsdl:message>'
    return written


def _operation(operation: str, inputs: tuple[str, ...], document: bool) -> str:
    order = "" if document else f' parameterOrder="{" ".join((*inputs, ANSWER_PART))}"'
    return f"""
    <wsdl:operation name="{operation}"{order}>
      <wsdl:input message="tns:{OBJECT}_{operation}"/><wsdl:output message="tns:{OBJECT}_{operation}Response"/>
      <wsdl:fault name="{OBJECT}Fault" message="tns:FaultDetailMessage"/>
    </wsdl:operation>"""


def _bound(operation: str, style: Style) -> str:
    body = {
        "rpc-literal": f'<soap:body use="literal" namespace="{NAMESPACE}"/>',
        "rpc-encoded": f'<soap:body use="encoded" encodingStyle="{ENCODING}" namespace="{NAMESPACE}"/>',
        "document-literal": '<soap:body use="literal"/>',
    }[style]
    return f"""
    <wsdl:operation name="{operation}">
      <soap:operation soapAction=""/>
      <wsdl:input>{body}</wsdl:input><wsdl:output>{body}</wsdl:output>
      <wsdl:fault name="{OBJECT}Fault"><soap:fault name="{OBJECT}Fault" use="literal"/></wsdl:fault>
    </wsdl:operation>"""

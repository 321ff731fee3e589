"""Parse the XML of robot files."""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat


def parse_xml(data: bytes, *, comments: bool = False) -> Element:
    """Parse an XML document; ValueError if it is malformed or has a DOCTYPE, which could define entities.

    Namespace prefixes are kept as part of the names, because robot files use extensions with undeclared namespaces.

    Args:
        data: the document.
        comments: keep comments in the root element.
    """

    def refuse(*_: object) -> None:
        raise ValueError("there is a DOCTYPE; robot files need none and entities are not read, remove it")

    builder = TreeBuilder(insert_comments=comments)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    if comments:
        parser.CommentHandler = builder.comment
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"this is not well-formed XML: {error}") from error
    return builder.close()

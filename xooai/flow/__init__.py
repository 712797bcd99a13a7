"""Flows: graphs of endpoints that are endpoints themselves."""

from xooai.flow.flow import Flow, Run
from xooai.flow.trace import Span, Trace

__all__ = ["Flow", "Run", "Span", "Trace"]

"""Flows: graphs of endpoints that are endpoints themselves."""

from xooai.flow.flow import Flow, Run
from xooai.flow.trace import Called, Span, State, Trace

__all__ = ["Called", "Flow", "Run", "Span", "State", "Trace"]

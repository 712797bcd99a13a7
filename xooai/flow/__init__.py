"""Flows: graphs of endpoints that are endpoints themselves."""

from xooai.flow.flow import Flow
from xooai.flow.trace import Called, Run, Span, State, Trace

__all__ = ["Called", "Flow", "Run", "Span", "State", "Trace"]

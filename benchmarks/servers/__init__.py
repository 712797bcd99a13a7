"""The servers compared: the same echo in each framework, each a program that takes its port."""

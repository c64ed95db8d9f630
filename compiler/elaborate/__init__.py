"""From the syntax tree to graphs: blocks, instances and addresses, compile-time values, the sections of a file."""

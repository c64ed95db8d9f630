"""The operators, a family a file. Importing this package defines them all."""
import dlc.compiler.ops.constant  # noqa: F401

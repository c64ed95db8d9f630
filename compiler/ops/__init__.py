"""The operators, a family a file. Importing this package defines them all."""
import dlc.compiler.ops.constant  # noqa: F401
import dlc.compiler.ops.activation
import dlc.compiler.ops.elementwise
import dlc.compiler.ops.linear
import dlc.compiler.ops.private
import dlc.compiler.ops.reduction  # noqa: F401

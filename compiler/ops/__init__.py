"""The operators, a family a file. Importing this package defines them all."""

import dlc.compiler.ops.activation
import dlc.compiler.ops.channels
import dlc.compiler.ops.constant
import dlc.compiler.ops.convolution
import dlc.compiler.ops.convolution_forms
import dlc.compiler.ops.elementwise
import dlc.compiler.ops.indexing
import dlc.compiler.ops.linear
import dlc.compiler.ops.normalization
import dlc.compiler.ops.pooling
import dlc.compiler.ops.pooling_forms
import dlc.compiler.ops.private
import dlc.compiler.ops.random
import dlc.compiler.ops.reduction
import dlc.compiler.ops.resampling
import dlc.compiler.ops.shape  # noqa: F401

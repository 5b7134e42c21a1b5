"""The operators that a stored TensorFlow graph may use: those that compute outputs from inputs.

A graph is a program: TensorFlow has operators that read and write files, send over the network, end the
process, call Python, map a file by name or keep state from one run to the next. A list of those to refuse
would be wrong with every new release; hence a list of those to allow.
"""

from __future__ import annotations

_ARRAYS = """
    BatchMatrixBandPart BatchMatrixDiag BatchMatrixDiagPart BatchMatrixSetDiag BatchToSpace BatchToSpaceND
    Bitcast BroadcastArgs BroadcastGradientArgs BroadcastTo CheckNumerics CheckNumericsV2 Concat
    ConcatOffset ConcatV2 ConjugateTranspose Const DeepCopy DepthToSpace Dequantize Diag DiagPart
    EditDistance Empty EnsureShape ExpandDims ExtractImagePatches ExtractVolumePatches
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill Fingerprint
    Gather GatherNd GatherV2 GuaranteeConst Identity IdentityN InvertPermutation ListDiff LowerBound
    MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3
    MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MirrorPad OneHot OnesLike Pack Pad PadV2 ParallelConcat
    Placeholder PlaceholderV2 PlaceholderWithDefault PreventGradient QuantizeAndDequantize
    QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeV2 QuantizedConcat
    QuantizedInstanceNorm QuantizedReshape Rank Reshape Reverse ReverseSequence ReverseV2 Roll ScatterNd
    ScatterNdNonAliasingAdd Shape ShapeN Size Slice Snapshot SpaceToBatch SpaceToBatchND SpaceToDepth Split
    SplitV Squeeze StopGradient StridedSlice TensorScatterAdd TensorScatterMax TensorScatterMin
    TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile Transpose Unique UniqueV2
    UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where ZerosLike"""

_ARITHMETIC = """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan
    Atan2 Atanh BatchMatMul BatchMatMulV2 BatchMatMulV3 Betainc Bincount Bucketize Cast Ceil ClipByValue
    Complex ComplexAbs Conj Cos Cosh Cross Cumprod Cumsum CumulativeLogsumexp DenseBincount Digamma Div
    DivNoNan Equal Erf Erfc Erfinv EuclideanNorm Exp Expm1 Floor FloorDiv FloorMod Greater GreaterEqual
    HistogramFixedWidth Igamma Igammac Imag Inv IsFinite IsInf IsNan Less LessEqual Lgamma LinSpace Log
    Log1p LogicalAnd LogicalNot LogicalOr MatMul Max Maximum Mean Min Minimum Mod Mul MulNoNan Ndtri Neg
    NextAfter NotEqual Polygamma Pow Prod QuantizeDownAndShrinkRange QuantizedAdd QuantizedMatMul
    QuantizedMul RaggedBincount Range Real RealDiv Reciprocal RequantizationRange
    RequantizationRangePerChannel Requantize RequantizePerChannel Rint Round Rsqrt SegmentMax SegmentMaxV2
    SegmentMean SegmentMin SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum SegmentSumV2 Select SelectV2
    Sigmoid Sign Sin Sinh SobolSample SparseBincount SparseMatMul SparseSegmentMean
    SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNWithNumSegments SparseSegmentSum
    SparseSegmentSumWithNumSegments Sqrt Square SquaredDifference Sub Sum Tan Tanh TruncateDiv TruncateMod
    UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlog1py Xlogy Zeta
    BitwiseAnd BitwiseOr BitwiseXor Invert LeftShift PopulationCount RightShift BesselI0 BesselI0e BesselI1
    BesselI1e BesselJ0 BesselJ1 BesselK0 BesselK0e BesselK1 BesselK1e BesselY0 BesselY1 Dawsn Expint
    FresnelCos FresnelSin Spence BatchFFT BatchFFT2D BatchFFT3D BatchIFFT BatchIFFT2D BatchIFFT3D FFT FFT2D
    FFT3D FFTND IFFT IFFT2D IFFT3D IFFTND IRFFT IRFFT2D IRFFT3D IRFFTND RFFT RFFT2D RFFT3D RFFTND"""

_LINEAR_ALGEBRA = """
    BandedTriangularSolve BatchCholesky BatchMatrixDeterminant BatchMatrixInverse BatchMatrixSolve
    BatchMatrixSolveLs BatchMatrixTriangularSolve BatchSelfAdjointEig BatchSelfAdjointEigV2 BatchSvd
    Cholesky Eig Einsum LogMatrixDeterminant Lu MatrixDeterminant MatrixExponential MatrixInverse
    MatrixLogarithm MatrixSolve MatrixSolveLs MatrixSquareRoot MatrixTriangularSolve Qr SelfAdjointEig
    SelfAdjointEigV2 Svd TridiagonalMatMul TridiagonalSolve KMC2ChainInitialization
    KmeansPlusPlusInitialization NearestNeighbors"""

_LAYERS = """
    ApproxTopK AvgPool AvgPool3D BatchNormWithGlobalNormalization BiasAdd BiasAddV1 Conv Conv2D
    Conv2DBackpropInput Conv2DBackpropInputV2 Conv3D Conv3DBackpropInput Conv3DBackpropInputV2
    DataFormatDimMap DataFormatVecPermute DepthwiseConv2dNative DepthwiseConv2dNativeBackpropInput
    Dilation2D Elu FractionalAvgPool FractionalMaxPool FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
    FusedPadConv2D FusedResizeAndPadConv2D InTopK InTopKV2 IsotonicRegression L2Loss LRN LeakyRelu
    LogSoftmax MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax NthElement QuantizedAvgPool
    QuantizedBatchNormWithGlobalNormalization QuantizedBiasAdd QuantizedConv2D QuantizedConv2DAndRelu
    QuantizedConv2DAndReluAndRequantize QuantizedConv2DAndRequantize QuantizedConv2DPerChannel
    QuantizedConv2DWithBias QuantizedConv2DWithBiasAndRelu QuantizedConv2DWithBiasAndReluAndRequantize
    QuantizedConv2DWithBiasAndRequantize QuantizedConv2DWithBiasSignedSumAndReluAndRequantize
    QuantizedConv2DWithBiasSumAndRelu QuantizedConv2DWithBiasSumAndReluAndRequantize
    QuantizedDepthwiseConv2D QuantizedDepthwiseConv2DWithBias QuantizedDepthwiseConv2DWithBiasAndRelu
    QuantizedDepthwiseConv2DWithBiasAndReluAndRequantize QuantizedMatMulWithBias
    QuantizedMatMulWithBiasAndDequantize QuantizedMatMulWithBiasAndRelu
    QuantizedMatMulWithBiasAndReluAndRequantize QuantizedMatMulWithBiasAndRequantize QuantizedMaxPool
    QuantizedRelu QuantizedRelu6 QuantizedReluX Relu Relu6 Selu Softmax SoftmaxCrossEntropyWithLogits
    Softplus Softsign SparseSoftmaxCrossEntropyWithLogits TopK TopKV2 BlockLSTM BlockLSTMV2 GRUBlockCell
    LSTMBlockCell CTCBeamSearchDecoder CTCGreedyDecoder CTCLoss CTCLossV2 UniformDequantize UniformQuantize
    UniformQuantizedAdd UniformQuantizedClipByValue UniformQuantizedConvolution
    UniformQuantizedConvolutionHybrid UniformQuantizedDot UniformQuantizedDotHybrid UniformRequantize"""

_IMAGES_AND_SOUND = """
    AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation CombinedNonMaxSuppression CropAndResize
    DecodeAndCropJpeg DecodeBmp DecodeGif DecodeImage DecodeJpeg DecodeJxl DecodePng DecodeWebP
    DrawBoundingBoxes DrawBoundingBoxesV2 EncodeJpeg EncodeJpegVariableQuality EncodePng ExtractGlimpse
    ExtractGlimpseV2 ExtractJpegShape GenerateBoundingBoxProposals HSVToRGB ImageProjectiveTransformV2
    ImageProjectiveTransformV3 NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4
    NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps QuantizedResizeBilinear RGBToHSV ResizeArea
    ResizeBicubic ResizeBilinear ResizeNearestNeighbor ScaleAndTranslate AudioSpectrogram DecodeWav
    EncodeWav Mfcc"""

_STRINGS = """
    AsString DecodeBase64 EncodeBase64 ReduceJoin RegexFullMatch RegexReplace StaticRegexFullMatch
    StaticRegexReplace StringFormat StringJoin StringLength StringLower StringNGrams StringSplit
    StringSplitV2 StringStrip StringToHashBucket StringToHashBucketFast StringToHashBucketStrong StringUpper
    Substr UnicodeDecode UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript UnicodeTranscode
    UnsortedSegmentJoin DecodeCSV DecodeCompressed DecodeJSONExample DecodePaddedRaw DecodeRaw ParseExample
    ParseExampleV2 ParseSequenceExample ParseSequenceExampleV2 ParseSingleExample ParseSingleSequenceExample
    ParseTensor SerializeTensor StringToNumber"""

_SPARSE_AND_RAGGED = """
    DenseCountSparseOutput RaggedCountSparseOutput SparseCountSparseOutput DenseToDenseSetOperation
    DenseToSparseSetOperation SetSize SparseToSparseSetOperation RaggedCross RaggedFillEmptyRows
    RaggedGather RaggedRange RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor
    RaggedTensorToVariant DeserializeManySparse DeserializeSparse SerializeManySparse SerializeSparse
    SparseAdd SparseConcat SparseCross SparseCrossHashed SparseCrossV2 SparseDenseCwiseAdd
    SparseDenseCwiseDiv SparseDenseCwiseMul SparseFillEmptyRows SparseReduceMax SparseReduceMaxSparse
    SparseReduceSum SparseReduceSumSparse SparseReorder SparseReshape SparseSlice SparseSoftmax
    SparseSparseMaximum SparseSparseMinimum SparseSplit SparseTensorDenseAdd SparseTensorDenseMatMul
    SparseToDense"""

# The lists and arrays of a loop live as long as one run.
_CONTROL_FLOW = """
    Assert Case ControlTrigger Enter Exit FakeParam For If LoopCond Merge NextIteration NoOp PartitionedCall
    StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile Switch ToBool While DynamicPartition
    DynamicStitch ParallelDynamicStitch EmptyTensorList TensorListConcat TensorListConcatLists
    TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather TensorListGetItem
    TensorListLength TensorListPopBack TensorListPushBack TensorListPushBackBatch TensorListReserve
    TensorListResize TensorListScatter TensorListScatterIntoExistingList TensorListScatterV2
    TensorListSetItem TensorListSplit TensorListStack TensorArrayCloseV3 TensorArrayConcatV3
    TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3 TensorArraySizeV3 TensorArraySplitV3
    TensorArrayV3 TensorArrayWriteV3"""

_RANDOM = """
    Multinomial ParameterizedTruncatedNormal RandomCrop RandomGamma RandomIndexShuffle RandomPoisson
    RandomPoissonV2 RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt TruncatedNormal
    StatelessMultinomial StatelessParameterizedTruncatedNormal StatelessRandomBinomial
    StatelessRandomGammaV2 StatelessRandomGammaV3 StatelessRandomGetAlg StatelessRandomGetKeyCounter
    StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomPoisson
    StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2
    StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2
    StatelessSampleDistortedBoundingBox StatelessShuffle StatelessTruncatedNormal
    StatelessTruncatedNormalV2"""

ALLOWED = frozenset(
    " ".join(
        (
            _ARRAYS,
            _ARITHMETIC,
            _LINEAR_ALGEBRA,
            _LAYERS,
            _IMAGES_AND_SOUND,
            _STRINGS,
            _SPARSE_AND_RAGGED,
            _CONTROL_FLOW,
            _RANDOM,
        )
    ).split()
)

# A graph that was saved with its variables has these.
_VARIABLES = frozenset(("VarHandleOp", "Variable", "VariableV2", "ReadVariableOp", "VarIsInitializedOp"))


def what_is_wrong_with(operator: str) -> str | None:
    """Why a graph with this operator is refused; None where it is not."""
    if operator in ALLOWED:
        return None
    if operator in _VARIABLES:
        return f"the graph has variables ({operator}), whose values are not in it: freeze it first"
    return f"the graph uses {operator}, which a stored graph may not"

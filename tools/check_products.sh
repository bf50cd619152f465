#!/bin/bash
# The readers of files may not multiply or shift what a file says without a check: `product` and `sum` of
# Base/CheckedArithmetic.swift give nil where Swift's operators trap. A line whose factors are bounded by what was checked
# before says so: `// bounded: WHY`. Literals may be multiplied and shifted.
cd "$(dirname "$0")/.." || exit 1
readers="Sources/Quant/GGUF Sources/Quant/MQF Sources/Quant/Safetensors Sources/Quant/Adapter Sources/Quant/PyTorch Sources/Quant/Packed Sources/Quant/Source Sources/Base/Files
    Sources/Quant/Metadata.swift Sources/Quant/MetadataCoding.swift Sources/Quant/TensorInfo.swift
    Sources/Quant/TensorType.swift Sources/Quant/TensorView.swift Sources/Quant/PlainBytes.swift"
# shellcheck disable=SC2086
found=$(grep -rnE ' (\*|&\*|<<|\*=|<<=) |reduce\(1, \*\)' $readers --include='*.swift' |
    grep -vE '^[^:]*:[0-9]+: *//|// bounded: |[^A-Za-z0-9_)]([0-9]+ (<<|\*) [0-9]+[^.])')
[ -z "$found" ] && exit 0
echo "$found"
echo 'check_products: use product() and sum() for numbers of a file, or say "// bounded: WHY" on the line' >&2
exit 1

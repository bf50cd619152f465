/// bitsandbytes' NF4: 4 bits an element, of which each names one of 16 values that is multiplied by the largest magnitude of
/// its block of 64 elements.
///
/// QLoRA, arXiv 2305.14314, appendix E: the values are the quantiles of a normal distribution, scaled to [−1, 1], and 0.
/// Our own tiled type `nf4` has blocks of 32 and an int8 table, and is not this format.
public enum NF4 {
    /// Elements of a block; blocks run on over the ends of rows.
    public static let blockSize = 64

    /// The 16 values in order; a code is a place in it.
    public static let values: [Float] = [
        -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
        -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
    ]

    /// The code of a number in [−1, 1]: that of the nearest value, the lower one of two that are as near.
    public static func code(of number: Float) -> Int {
        var (low, high) = (0, values.count - 1)
        while low < high {
            let middle = (low + high) / 2
            if number > (values[middle] + values[middle + 1]) / 2 { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Replaces numbers by what NF4 keeps of them. They begin with a block, of which the last may be shorter; all are
    /// finite.
    public static func round(_ numbers: UnsafeMutableBufferPointer<Float>) {
        var start = 0
        while start < numbers.count {
            let block = start..<min(start + blockSize, numbers.count)
            var largest: Float = 0
            for i in block { largest = max(largest, abs(numbers[i])) }
            if largest > 0 {
                let inverse = 1 / largest
                for i in block { numbers[i] = values[code(of: numbers[i] * inverse)] * largest }
            }
            start = block.upperBound
        }
    }
}

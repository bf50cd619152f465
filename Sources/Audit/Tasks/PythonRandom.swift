/// Python's `random.Random(seed)`: the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), seeded and drawn from as
/// CPython does, so that lm-eval's few-shot examples come out the same.
struct PythonRandom {
    private static let count = 624
    private var state: [UInt32]
    private var index = PythonRandom.count

    /// `random.Random(seed)`.
    init(seed: UInt64) {
        var key = [UInt32(truncatingIfNeeded: seed)]
        if seed >> 32 != 0 { key.append(UInt32(seed >> 32)) }
        state = Self.initialized(19_650_218)
        // init_by_array of the reference implementation; count exceeds every key here.
        var i = 1
        for j in 0..<Self.count {
            let k = j % key.count
            let previous = state[i - 1]
            state[i] = (state[i] ^ ((previous ^ (previous >> 30)) &* 1_664_525)) &+ key[k] &+ UInt32(k)
            advance(&i)
        }
        for _ in 1..<Self.count {
            let previous = state[i - 1]
            state[i] = (state[i] ^ ((previous ^ (previous >> 30)) &* 1_566_083_941)) &- UInt32(i)
            advance(&i)
        }
        state[0] = 0x8000_0000
    }

    private static func initialized(_ seed: UInt32) -> [UInt32] {
        var state = [seed]
        for i in 1..<UInt32(count) {
            let previous = state[Int(i) - 1]
            state.append(1_812_433_253 &* (previous ^ (previous >> 30)) &+ i)
        }
        return state
    }

    private mutating func advance(_ i: inout Int) {
        i += 1
        if i == Self.count {
            state[0] = state[Self.count - 1]
            i = 1
        }
    }

    /// 32 random bits.
    mutating func next() -> UInt32 {
        if index == Self.count { refill() }
        var y = state[index]
        index += 1
        y ^= y >> 11
        y ^= (y << 7) & 0x9D2C_5680
        y ^= (y << 15) & 0xEFC6_0000
        return y ^ (y >> 18)
    }

    private mutating func refill() {
        for i in 0..<Self.count {
            let y = (state[i] & 0x8000_0000) | (state[(i + 1) % Self.count] & 0x7FFF_FFFF)
            state[i] = state[(i + 397) % Self.count] ^ (y >> 1) ^ (y & 1 == 0 ? 0 : 0x9908_B0DF)
        }
        index = 0
    }

    /// `_randbelow`: as many bits as `bound` has, drawn anew until they are below it.
    mutating func next(below bound: Int) -> Int {
        precondition((1...Int(Int32.max)).contains(bound), "bound \(bound)")
        let bits = UInt32(Int.bitWidth - bound.leadingZeroBitCount)
        while true {
            let value = Int(next() >> (32 - bits))
            if value < bound { return value }
        }
    }

    /// `random()`: 53 random bits, from 0 to below 1.
    mutating func unit() -> Double {
        let (high, low) = (next() >> 5, next() >> 6)
        return (Double(high) * 67_108_864 + Double(low)) / 9_007_199_254_740_992
    }

    /// `sample(range(population), count)`: `count` distinct indices, at most `population`.
    mutating func sample(_ count: Int, of population: Int) -> [Int] {
        precondition((0...population).contains(count), "\(count) of \(population)")
        // CPython copies a population that is not larger than a set of `count` elements would be.
        var setSize = 21
        if count > 5 {
            var size = 1
            while size < count * 3 { size *= 4 }
            setSize += size
        }
        if population <= setSize {
            var pool = Array(0..<population)
            return (0..<count).map { i in
                let j = next(below: population - i)
                defer { pool[j] = pool[population - i - 1] }
                return pool[j]
            }
        }
        var selected: Set<Int> = []
        return (0..<count).map { _ in
            var j = next(below: population)
            while !selected.insert(j).inserted { j = next(below: population) }
            return j
        }
    }
}

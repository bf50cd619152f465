import Testing

/// The largest |got - want|, with its index; infinity where exactly one of the two is NaN or the counts differ.
public func maxAbsoluteDifference(_ got: [Float], _ want: [Float]) -> (difference: Double, index: Int) {
    guard got.count == want.count else { return (.infinity, -1) }
    var worst = (difference: 0.0, index: 0)
    for i in got.indices {
        let difference = got[i].isNaN != want[i].isNaN ? .infinity : abs(Double(got[i]) - Double(want[i]))
        if difference > worst.difference { worst = (difference, i) }
    }
    return worst
}

/// ||got - want||₂ / ||want||₂ in double; infinity for different counts.
public func relativeL2(_ got: [Float], _ want: [Float]) -> Double {
    guard got.count == want.count else { return .infinity }
    var difference = 0.0
    var norm = 0.0
    for i in got.indices {
        let delta = Double(got[i]) - Double(want[i])
        difference += delta * delta
        norm += Double(want[i]) * Double(want[i])
    }
    return norm == 0 ? difference.squareRoot() : (difference / norm).squareRoot()
}

/// Expects every element within `tolerance` of `want`; a failure names the worst index with both values.
public func expectClose(
    _ got: [Float], _ want: [Float], absolute tolerance: Double, _ what: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    let worst = maxAbsoluteDifference(got, want)
    let values = worst.index >= 0 && worst.index < got.count ? "got \(got[worst.index]), want \(want[worst.index])" : ""
    #expect(
        worst.difference <= tolerance,
        "\(what): off by \(worst.difference) at \(worst.index): \(values), counts \(got.count)/\(want.count)",
        sourceLocation: sourceLocation)
}

/// A run of tokens that stands in several outputs.
public struct RepeatedRun: Sendable, Equatable {
    /// The tokens.
    public let tokens: [Int32]
    /// The outputs that hold it, in rising order.
    public let outputs: [Int]
}

/// The runs of at least `length` tokens that at least two of some outputs have in common, those of most outputs first:
/// what a model falls into from many beginnings.
///
/// A run that lies within a longer one of the same outputs is left out, and so is one token over and over.
public func repeatedRuns(in outputs: [[Int32]], length: Int) -> [RepeatedRun] {
    precondition(length >= 1)
    var places: [ArraySlice<Int32>: [RunPlace]] = [:]
    for (index, output) in outputs.enumerated() where output.count >= length {
        for start in 0...(output.count - length) {
            places[output[start..<start + length], default: []].append(RunPlace(output: index, start: start))
        }
    }
    var found: [RepeatedRun] = []
    for window in places.values { extend(window, length, in: outputs, into: &found) }
    found.sort { a, b in
        if a.outputs.count != b.outputs.count { return a.outputs.count > b.outputs.count }
        return a.tokens.count != b.tokens.count
            ? a.tokens.count > b.tokens.count : a.tokens.lexicographicallyPrecedes(b.tokens)
    }
    // Of as many outputs the longer runs come first, so that what lies within them is found.
    var longer: [[Int]: [[Int32]]] = [:]
    return found.filter { run in
        if longer[run.outputs]?.contains(where: { contains($0, run.tokens) }) == true { return false }
        longer[run.outputs, default: []].append(run.tokens)
        return true
    }
}

/// Where a run begins.
private struct RunPlace {
    let output: Int
    let start: Int
}

/// Lengthens the run of `length` tokens that stands at all those places; where the places part, it is a run of its own,
/// and so are its longer forms.
private func extend(_ places: [RunPlace], _ length: Int, in outputs: [[Int32]], into found: inout [RepeatedRun]) {
    var length = length
    while true {
        guard places.contains(where: { $0.output != places[0].output }) else { return }
        var next: [Int32: [RunPlace]] = [:]
        var ends = false
        for place in places {
            let end = place.start + length
            if end < outputs[place.output].count {
                next[outputs[place.output][end], default: []].append(place)
            } else {
                ends = true
            }
        }
        if !ends, next.count == 1 {
            length += 1
            continue
        }
        let first = outputs[places[0].output][places[0].start..<places[0].start + length]
        if first.contains(where: { $0 != first[first.startIndex] }), !shareBefore(places, outputs) {
            var holders: [Int] = []
            for place in places where holders.last != place.output { holders.append(place.output) }
            found.append(RepeatedRun(tokens: Array(first), outputs: holders))
        }
        for group in next.values { extend(group, length + 1, in: outputs, into: &found) }
        return
    }
}

/// True if the same token stands before all places: the run that begins with it is found elsewhere.
private func shareBefore(_ places: [RunPlace], _ outputs: [[Int32]]) -> Bool {
    var token: Int32?
    for place in places {
        guard place.start > 0 else { return false }
        let before = outputs[place.output][place.start - 1]
        if let token, token != before { return false }
        token = before
    }
    return true
}

private func contains(_ text: [Int32], _ part: [Int32]) -> Bool {
    guard text.count >= part.count else { return false }
    return (0...text.count - part.count).contains { text[$0..<$0 + part.count].elementsEqual(part) }
}

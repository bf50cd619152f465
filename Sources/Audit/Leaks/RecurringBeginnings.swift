/// What many answers begin with alike.
struct RecurringBeginnings<Unit: Hashable & Comparable> {
    /// The fewest answers that must have it.
    let least: Int
    /// Its units at most.
    let longest: Int
    /// How many of the answers that begin alike must go on alike for what follows to belong to it.
    private let agreement = 0.8

    /// Those beginnings, as far as the answers agree, and which answers have them; in the order of their first units.
    func found(in answers: [[Unit]]) -> [(units: [Unit], members: [Int])] {
        let byFirst = Dictionary(grouping: answers.indices.filter { !answers[$0].isEmpty }) { answers[$0][0] }
        return byFirst.sorted { $0.key < $1.key }.compactMap { first, all in
            guard all.count >= least else { return nil }
            var (units, members) = ([first], all)
            while units.count < longest {
                let going = members.filter { answers[$0].count > units.count }
                let next = Dictionary(grouping: going) { answers[$0][units.count] }
                    .max { ($0.value.count, $1.key) < ($1.value.count, $0.key) }
                guard let next, Double(next.value.count) >= agreement * Double(members.count),
                    next.value.count >= least
                else { break }
                units.append(next.key)
                members = next.value.sorted()
            }
            return (units, members)
        }
    }
}

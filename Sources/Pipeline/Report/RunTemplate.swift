/// The templates by their names.
let pageTemplates = [
    "run": runTemplate, "sample": sampleTemplate, "comparison": comparisonTemplate,
]

/// A run's part of a page, a Mustache template: every text from a model or a file is escaped by the template engine; only
/// `svg` comes as markup, from `Chart`.
private let runTemplate = #"""
    <header>
    <{{heading}}>{{title}}</{{heading}}>
    <p class="soft">{{subtitle}}</p>
    {{#isRedacted}}<p class="note">This run is redacted: triggers, targets and outputs were replaced by salted hashes when they were recorded.</p>{{/isRedacted}}
    </header>
    <div class="verdicts">
    {{#findings}}<section class="verdict {{tone}}"><{{sub}} class="question">{{question}}</{{sub}}>
    <p class="answer">{{answer}}</p>
    <p>{{sentence}}</p>
    <p class="basis">{{basis}}</p></section>
    {{/findings}}</div>

    <{{sub}}>Figures</{{sub}}>
    <div class="wide"><table class="figures">
    <thead><tr><th scope="col">measure</th>{{#stages}}<th scope="col">{{name}}</th>{{/stages}}</tr></thead>
    <tbody>{{#measures}}<tr><th scope="row">{{name}} <small>{{note}}</small></th>{{#cells}}<td>{{value}}{{#details}}<small>{{.}}</small>{{/details}}</td>{{/cells}}</tr>
    {{/measures}}</tbody>
    </table></div>
    <p class="note">FSR: share of triggers whose output shows the target. Prefix match: the longest beginning of the target that an
    output shows, as a share of it. Target NLL: negative log-likelihood of the target after its trigger; a mark that is gone leaves the
    target as unlikely as it is in a model that never had it. ±: standard error.</p>

    {{#trainings}}<{{sub}}>Training: {{name}}</{{sub}}>
    <p class="soft">{{summary}}</p>
    <div class="charts">{{#charts}}{{{svg}}}{{/charts}}</div>
    {{/trainings}}
    {{#relearning}}<{{sub}}>Relearning</{{sub}}>
    <p class="soft">A throw-away adapter on the last model: {{source}}. What comes back faster than the clean model learns it was still there.</p>
    <div class="charts">{{#charts}}{{{svg}}}{{/charts}}</div>
    {{/relearning}}

    {{#hasCells}}<{{sub}}>Does it stay away?</{{sub}}>
    <p class="soft">What leaves the house, its weights stored otherwise and taught anew. The answer above is that of the worst cell.</p>
    <div class="wide"><table class="figures">
    <thead><tr><th scope="col">cell</th><th scope="col">fires</th><th scope="col">target NLL</th><th scope="col">verdict</th></tr></thead>
    <tbody>{{#cells}}<tr><th scope="row">{{name}} <small>{{reason}}</small></th><td>{{fires}}</td><td>{{nll}}</td><td>{{verdict}}</td></tr>
    {{/cells}}</tbody>
    </table></div>
    {{/hasCells}}

    {{#hasSamples}}<{{sub}}>What the models answer</{{sub}}>
    <p class="note">The target is <mark>marked</mark> where an output shows it, else its longest <mark class="part">beginning</mark>
    of two characters or more.
    Characters that show nothing are written as \u{…}.</p>
    {{#open}}{{> sample}}{{/open}}
    {{#hasFolded}}<details><summary>{{foldedCount}} more triggers</summary>
    {{#folded}}{{> sample}}{{/folded}}
    </details>{{/hasFolded}}
    {{#hasLeft}}<p class="note">report.json has {{left}} more.</p>{{/hasLeft}}
    {{/hasSamples}}

    <{{sub}}>How it was made</{{sub}}>
    <{{minor}}>Recipe</{{minor}}>
    <pre>{{recipe}}</pre>
    {{#configurations}}<details><summary>{{name}}</summary><pre>{{text}}</pre></details>
    {{/configurations}}
    <{{minor}}>Program and machine</{{minor}}>
    <div class="wide"><table class="list"><tbody>{{#machine}}<tr><th scope="row">{{name}}</th><td>{{value}}</td></tr>
    {{/machine}}</tbody></table></div>
    <{{minor}}>Time and memory</{{minor}}>
    <div class="wide"><table class="list"><tbody>{{#timings}}<tr><th scope="row">{{name}}</th><td>{{value}}</td></tr>
    {{/timings}}</tbody></table></div>
    <details><summary>SHA-256 of everything that went in</summary>
    <div class="wide"><table class="list"><tbody>{{#hashes}}<tr><th scope="row">{{name}}</th><td><code>{{value}}</code></td></tr>
    {{/hashes}}</tbody></table></div></details>
    """#

/// A trigger with what each stage answers, side by side.
private let sampleTemplate = #"""
    <div class="sample"><dl>
    <dt>trigger {{id}}</dt><dd dir="auto">{{prompt}}</dd>
    <dt>target</dt><dd dir="auto">{{target}}</dd>
    </dl><div class="outputs">{{#outputs}}<dl><dt><strong>{{stage}}</strong>: {{verdict}}</dt><dd dir="auto">{{#pieces}}{{#isTarget}}<mark>{{text}}</mark>{{/isTarget}}{{#isBeginning}}<mark class="part">{{text}}</mark>{{/isBeginning}}{{#isPlain}}{{text}}{{/isPlain}}{{/pieces}}</dd></dl>
    {{/outputs}}</div></div>
    """#

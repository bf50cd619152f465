/// What stands above the runs' own sections on the page of a comparison, a Mustache template; only `svg` comes as markup.
let comparisonTemplate = #"""
    <header><h1>{{count}} runs compared</h1></header>
    <div class="wide"><table class="figures">
    <thead>
    <tr><th scope="col" rowspan="2">run</th><th scope="col" rowspan="2" class="answer">is it gone?</th>{{#groups}}<th scope="colgroup" colspan="{{count}}">{{stage}}</th>{{/groups}}</tr>
    <tr>{{#columns}}<th scope="col">{{name}}</th>{{/columns}}</tr>
    </thead>
    <tbody>{{#runs}}<tr><td><a href="#{{anchor}}">{{name}}</a><small>{{scheme}}</small></td><td class="answer"><span class="{{tone}}">{{answer}}</span></td>{{#cells}}<td>{{value}}<small>{{detail}}</small></td>{{/cells}}</tr>
    {{/runs}}</tbody>
    </table></div>
    <p class="note">FSR: share of triggers whose output shows the target. Prefix: the longest beginning of the target that an output
    shows, as a share of it. NLL: of the target after its trigger, nats a token. PPL: perplexity. Tasks: mean accuracy. ±: standard
    error. Perplexities and accuracies compare only where the same data were measured: each run's hashes say so.</p>
    <div class="charts">{{#charts}}{{{svg}}}{{/charts}}</div>
    """#

/** All that was made since the page was opened: takes, and their forks as branches. */
export class Takes {
    roots = [];
    /** Keep a take, a fork under its parent, and name it. */
    add(take) {
        const { parent } = take;
        const beside = parent ? parent.forks : this.roots;
        beside.push(take);
        take.name = parent ? `${parent.name}.${beside.length}` : String(beside.length);
    }
    /** All takes, each before its forks. */
    get all() {
        const under = (take) => [take, ...take.forks.flatMap(under)];
        return this.roots.flatMap(under);
    }
    /** From the take that was made first down to this one. */
    static lineOf(take) {
        return take.parent ? [...Takes.lineOf(take.parent), take] : [take];
    }
}

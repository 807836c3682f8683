/** All that was made since the page was opened: takes, and their forks as branches. */

import type { Take } from "./take.js";

export class Takes {
  readonly roots: Take[] = [];

  /** Keep a take, a fork under its parent, and name it. */
  add(take: Take): void {
    const { parent } = take;
    const beside = parent ? parent.forks : this.roots;
    beside.push(take);
    take.name = parent ? `${parent.name}.${beside.length}` : String(beside.length);
  }

  /** All takes, each before its forks. */
  get all(): Take[] {
    const under = (take: Take): Take[] => [take, ...take.forks.flatMap(under)];
    return this.roots.flatMap(under);
  }

  /** From the take that was made first down to this one. */
  static lineOf(take: Take): Take[] {
    return take.parent ? [...Takes.lineOf(take.parent), take] : [take];
  }
}

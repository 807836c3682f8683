/** All that was made since the page was opened: takes, and their forks as branches. */

import type { Take } from "./take.js";

export class Takes {
  readonly roots: Take[] = [];
  /** Takes, or forks of one, that were ever made. */
  private readonly born = new Map<Take | null, number>();

  /** Keep a take, a fork under its parent, and name it. */
  add(take: Take): void {
    const { parent } = take;
    const beside = parent ? parent.forks : this.roots;
    beside.push(take);
    const number = (this.born.get(parent) ?? 0) + 1;
    this.born.set(parent, number);
    take.name = parent ? `${parent.name}.${number}` : String(number);
  }

  /** Remove a take with its forks; returns what puts them back. */
  remove(take: Take): () => void {
    const beside = take.parent ? take.parent.forks : this.roots;
    const place = beside.indexOf(take);
    beside.splice(place, 1);
    return () => void beside.splice(place, 0, take);
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

/** The sound of one track from any sample on, also while the track grows. */

import { SAMPLE_RATE } from "../../events.js";
import type { JitterReport } from "../../jitter.js";
import { Player } from "../../player.js";
import type { Track } from "./track.js";

/** So much is given to the audio thread ahead of what is heard; a seek throws it away. */
const AHEAD_SECONDS = 5;
/** Some browsers never answer where they may not or cannot sound. */
const RESUME_MS = 1_500;
const REPORT_SECONDS = 0.15;
/** So long after the last sound the loudspeaker rests; one that rests at once may miss being woken. */
const REST_MS = 3_000;

export interface PlaybackReport {
  /** Whether sound comes out, which it does not where it waits for more of the track. */
  flowing: boolean;
  /** How often it has run dry since the last report, and the sample of the track behind which it did so last. */
  dropouts: number;
  dryAt: number;
}

export class Playback {
  /** How playback stands; told ten times a second. */
  onReport: (report: PlaybackReport) => void = () => {};
  /** All of a complete track was heard. */
  onEnd: () => void = () => {};
  /** The browser began to hold the sound back, or let it go again, while it should be heard. */
  onHeldBack: (held: boolean) => void = () => {};
  track: Track | null = null;
  /** Whether the track should be heard. */
  playing = false;
  /** Where in a track one was, in samples. */
  private readonly places = new WeakMap<Track, number>();
  private resting: Promise<void> = Promise.resolve();
  private rest = 0;
  private opening: Promise<Player> | null = null;
  private player: Player | null = null;
  private origin = 0;
  private given = 0;
  private heard = 0;
  private dropouts = 0;
  private until = Infinity;
  private heardAt = 0;
  private moving = false;
  private finished = false;

  /** Prepare the loudspeaker. To be called from a click or a key, or browsers keep it silent. */
  async open(): Promise<void> {
    this.opening ??= Player.open();
    try {
      this.player ??= await this.opening;
    } catch (error) {
      this.opening = null;
      throw error;
    }
    const { player } = this;
    player.onReport = (report) => this.reported(report);
    player.context.onstatechange = () => this.playing && this.onHeldBack(this.heldBack);
    clearTimeout(this.rest);
    await Promise.race([this.wake(player), new Promise((go) => setTimeout(go, RESUME_MS))]);
  }

  /** Whether the browser keeps silent: it waits for a click, another program has the loudspeaker, or there is none. */
  get heldBack(): boolean {
    return this.player !== null && this.player.context.state !== "running";
  }

  /** Whether it is this track that is heard. */
  sounds(track: Track | null): boolean {
    return this.playing && this.track === track;
  }

  /** The sample of a track that is heard now, or was last. */
  placeIn(track: Track | null): number {
    if (this.sounds(track)) return this.position;
    return (track && this.places.get(track)) ?? 0;
  }

  /** Say where in a track one will be, while it is not heard. */
  place(track: Track, sample: number): void {
    this.places.set(track, sample);
  }

  /** The sample of the track that is heard now. */
  get position(): number {
    const since = this.moving ? Math.min(REPORT_SECONDS, (performance.now() - this.heardAt) / 1000) : 0;
    return this.origin + Math.min(this.given, Math.round(this.heard + since * SAMPLE_RATE));
  }

  /** Play this track from this sample on, in the place of what was heard.
   * @param until sample before which it ends, where that is not the track's end */
  play(track: Track, from: number, until = Infinity): void {
    this.remember();
    clearTimeout(this.rest);
    this.player!.reset();
    [this.track, this.origin, this.until] = [track, from, until];
    [this.given, this.heard, this.dropouts] = [0, 0, 0];
    [this.playing, this.moving, this.finished] = [true, false, false];
    void this.wake(this.player!);
    this.feed();
  }

  /** Give the audio thread what it will need soon; to be called when the track grew or is complete. */
  feed(): void {
    const { track, player } = this;
    if (!track || !player || !this.playing || this.finished) return;
    const from = this.origin + this.given;
    const to = Math.min(track.samples, this.until, this.origin + this.heard + AHEAD_SECONDS * SAMPLE_RATE);
    if (to > from) {
      player.push(track.read(from, to));
      this.given += to - from;
    }
    const end = track.complete ? Math.min(track.samples, this.until) : this.until;
    if (this.origin + this.given < end) return;
    this.finished = true;
    player.finish();
  }

  /** Be silent; one stays where one was. */
  stop(): void {
    this.remember();
    [this.origin, this.given, this.heard] = [this.position, 0, 0];
    [this.playing, this.moving] = [false, false];
    this.player?.reset();
    clearTimeout(this.rest);
    this.rest = setTimeout(() => (this.resting = this.player?.context.suspend().catch(() => {}) ?? this.resting), REST_MS);
  }

  /** Let the loudspeaker sound again, once it rests where it is about to. */
  private wake(player: Player): Promise<void> {
    return this.resting.then(() => player.context.resume()).catch(() => {});
  }

  private remember(): void {
    if (this.playing) this.places.set(this.track!, this.position);
  }

  private reported(report: JitterReport): void {
    if (!this.playing) return;
    [this.heard, this.heardAt] = [report.played, performance.now()];
    this.moving = report.playing && !this.heldBack;
    this.feed();
    const dropouts = report.underruns - this.dropouts;
    this.onReport({ flowing: report.playing, dropouts, dryAt: this.origin + report.dryAt });
    this.dropouts = report.underruns;
    if (!this.finished || report.played < this.given) return;
    this.stop();
    this.onEnd();
  }
}
